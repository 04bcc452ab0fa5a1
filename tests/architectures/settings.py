"""Settings of a small network, for `conv_architecture`."""

DEFAULTS = {
    "filters": (4, 6),
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "padding_mode": "zeros",
    "dilation": 1,
    "convs_per_block": 1,
    "pooling": "max",
    "pool_size": 2,
    "pool_stride": None,
    "global_pooling": None,
    "activation": "relu",
    "normalization": "batch",
    "hidden_layer_sizes": (8,),
    "dropout": 0.25,
    "standardize": True,
}
