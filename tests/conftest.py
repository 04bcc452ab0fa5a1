"""Settings of all tests."""

import torch

# The networks of the tests are tiny: a second thread gains nothing, and costs much where the machine is busy.
torch.set_num_threads(1)
