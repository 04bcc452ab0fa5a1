"""CNNClassifier."""

import os
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_cnn.estimators._base import BaseCNN
from sklearn_cnn.estimators._targets import count_labels
from sklearn_cnn.estimators._task import Indicators, Labels, first_labels
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional network classifier for images.

    No parameter is needed to begin: ``CNNClassifier().fit(X, y)`` takes any array of images and labels
    of any type. Each image has one label, or several labels in an indicator matrix of 0 and 1. The first
    half of the parameters shape the network; the others say how X is read and how the network is trained.

    A block is a convolution, a pool, a normalisation and an activation, in this order, and perhaps
    further convolutions; after the last block come the dense layers. Settings of the blocks take one
    value for all blocks or a sequence with one entry a block; an entry is an int or a ``(height, width)``
    pair. Where a setting is ``"auto"``, it follows from the size of the images: those of 28 pixels a side
    and more get a deeper network than small ones.

    Read more in the user guide.

    Parameters
    ----------
    filters : int, sequence of int or "auto", default="auto"
        Output channels of the convolutions, one entry a block. ``"auto"`` follows the shorter side of the
        images, divided by the step of whitening (see `standardize`): (64, 128) below 28 pixels, (32, 64, 128)
        below 56, and another block of 256 with each doubling from there on; fewer blocks where other settings
        leave no room for them. `plan_` says what it came to. An empty sequence gives a network of dense layers
        alone.
    kernel_size : int or sequence, default=3
        Height and width of the convolution windows, in pixels.
    stride : int or sequence, default=1
        Step of the first convolution of a block, in pixels.
    padding : {"same", "valid"}, int or sequence, default="same"
        Pixels added on each side of a map before a convolution. ``"same"`` keeps its size, and gives
        ``ceil(n / stride)`` with a stride; ``"valid"`` adds none.
    padding_mode : {"zeros", "replicate", "reflect", "circular"}, default="zeros"
        What is added there.
    dilation : int or sequence, default=1
        Step between neighbouring values of a convolution window, in pixels.
    convs_per_block : int, sequence or "auto", default="auto"
        Convolutions in a block; the pool follows the first. ``"auto"`` is 2 in every block where the
        shorter side of the images has 28 pixels or more and the maps have room for it, else 1.
    pooling : {"max", "avg"}, None or sequence, default="max"
        Kind of pool of each block, or None.
    pool_size : int or sequence, default=2
        Height and width of the pool windows, in pixels. A window larger than its map is clipped.
    pool_stride : int, None or sequence, default=None
        Step of the pools, in pixels; by default `pool_size`.
    global_pooling : {"avg", "max", "auto"} or None, default="auto"
        Reduces every map to one number after the last block. ``"auto"`` is ``"max"`` from 28 pixels on, else
        None.
    activation : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"}, default="relu"
        Function after every convolution and hidden dense layer.
    normalization : {"batch"} or None, default="batch"
        Batch normalisation in the conv blocks [1]_. Batches then need two images at least where a map
        has one value.
    hidden_layer_sizes : int, sequence of int or "auto", default="auto"
        Widths of the dense layers between the blocks and the output. ``"auto"`` is none from 28 pixels on,
        else (128,).
    dropout : float or "auto", default="auto"
        Share of the values that training sets to zero before each dense layer [2]_. ``"auto"`` is 0 from 28
        pixels on, else 0.25. With `architecture` it is 0.25.
    architecture : str, callable or None, default=None
        A whole network in place of the conv blocks: the name of a classic one, see
        `list_architectures`; ``"torchvision:NAME"``, ``"timm:NAME"``, ``"timm:NAME.TAG"`` or
        ``"timm:hf-hub:OWNER/NAME"``, with a head of ours; or a callable
        ``(image_shape, n_outputs) -> torch.nn.Module``. The parameters above must then be left at their
        defaults, but for `dropout`, which AlexNet, VGG, Inception and the networks of torchvision and timm have.
    weights : str, path-like, estimator or None, default=None
        What the network starts from: a ``.safetensors``, ``.pth`` or ``.pt`` file of weights; ``"default"``,
        those that torchvision or timm offer for download; or a fitted estimator of this package (for
        searches and ``clone`` inside a `sklearn.frozen.FrozenEstimator`). The output layer is drawn anew.
        The mean and deviation of pixels are those of the named network: for a file of weights from timm,
        name their tag. None draws all at random.
    trainable_blocks : int or "all", default="all"
        How many of the last blocks are trained, beside the head (all that comes after the last map). The
        others keep their weights and batch statistics. With 0 they are run once, and the head is trained
        on their features; only an augmenter, whose images differ in every epoch, has them run in each.
    backbone_lr : float or None, default=None
        Learning rate of everything but the head; by default `lr`.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows. By default such
        rows are grey squares.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand. ``"auto"`` recognises 1, 3 and 4 channels; the others allow any
        number.
    augmenter : ImageAugmenter, "auto" or None, default="auto"
        Random changes of the training images, drawn anew in every epoch and left out of validation and
        prediction; the same as an ``ImageAugmenter`` before this classifier in a pipeline. ``"auto"``
        shifts images from 28 pixels on by up to a sixteenth of the shorter side, but not where an
        ``ImageAugmenter`` comes before, and not with `weights` or frozen blocks.
    standardize : bool, default=True
        Whether each channel is brought to mean 0 and standard deviation 1, by the weighted statistics
        of the training images, inside the network. In a network of conv blocks, for images
        whose shorter side has 28 pixels or more, a fixed convolution behind it whitens windows of pixels [6]_:
        it makes them uncorrelated values of about the same variance. From 64 pixels on its windows have a step
        of ``side // 64 + 1``. Both cancel a per-channel normaliser in a pipeline: set it to False, which leaves
        whitening out too, when you search over one.
    optimizer : {"adamw", "adam", "sgd", "rmsprop"} or callable, default="adamw"
        Optimiser, or a callable ``(parameters, lr=) -> torch.optim.Optimizer``.
    lr : float or "auto", default="auto"
        Learning rate, the peak where there is a schedule. ``"auto"`` is 0.01 for ``"adamw"`` and
        ``"adam"``, 0.05 for ``"sgd"`` and 0.001 otherwise. It is multiplied by 0.1 for a callable `architecture` and
        for backbones with layer normalisation only, and by 0.02 to 0.5 for networks without normalisation.
    momentum : float, default=0.9
        Momentum of ``"sgd"`` (Nesterov's) and ``"rmsprop"``.
    weight_decay : float, default=0.01
        Weight decay of the named optimisers, decoupled in ``"adamw"`` [3]_; biases and normalisation
        are spared.
    lr_schedule : {"auto", "warmup_stable_decay", "cosine", "constant"}, default="auto"
        Course of the learning rate. ``"auto"`` is ``"warmup_stable_decay"`` [4]_: a linear rise, a constant rate,
        and a linear fall to 0 over the last fifth of the epochs, rounded up. The rise takes 100 steps, or the
        first epoch if that is shorter, but 10 steps at least; a fit that goes on with `warm_start` has none.
        With `early_stopping` the fall begins once patience has run out, and takes at most 4 epochs. A single
        epoch rises for a fifth of its steps and falls for half of them.
    label_smoothing : float, default=0.05
        Share of each training target that is spread over all classes [5]_; with several labels an image,
        over the 0 and 1 of each label. It makes labels more often right, and probabilities cautious; use
        0 where the probabilities themselves matter.
    batch_size : int or "auto", default="auto"
        Images a step. ``"auto"`` grows with the training set, from 16 to 128.
    max_epochs : int or "auto", default="auto"
        Passes over the training images. ``"auto"`` is 10 up to 30,000 images; then fewer, down to 6.
    early_stopping : bool, default=False
        Whether to hold out a part of the training images (or to use `X_val`), to stop when its
        accuracy no longer rises, and to go back to the best epoch. The part has every class in
        proportion; with several labels an image it is drawn at random.
    validation_fraction : float, default=0.1
        Share of the images that is held out.
    n_iter_no_change : int, default=5
        Epochs without a gain after which to stop.
    tol : float, default=1e-4
        What counts as a gain of the accuracy.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; multiplied by `sample_weight`. For one label an image only.
    warm_start : bool, default=False
        Whether `fit` trains a fitted network on, for `max_epochs` more.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches, dropout and validation split.
    verbose : int, default=0
        1 shows a bar with loss, validation score and time left, and leaves a line when the fit ends; 2 leaves a
        line for every epoch. Without a terminal of its own, as in a worker process, a log file or a thread,
        there are the lines alone. They go to ``sys.stderr``.
    device : str or torch.device, default="auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` takes a GPU where there is one.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        How `fit` computes. ``"auto"`` is bfloat16 for all but small networks where the hardware has it,
        otherwise float32. Weights and predictions are float32 all the same (float64 for
        ``"float64"``).
    checkpoint : str, path-like or None, default=None
        Name of a file that keeps the state of `fit` after every epoch. The same fit, with the same parameters and
        data, goes on from there after a crash or Ctrl-C, and trains no more once it has ended. A folder that is there
        holds one file for each fit, as a search needs it; that takes a `random_state`.
    skorch_callbacks : list or None, default=None
        Callbacks of skorch, or ``(name, callback)`` pairs; copies of them are used.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; with several an image, the numbers of the columns of `y`.
    n_features_in_ : int
        Numbers in one image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a frame with string names.
    image_shape_ : ImageShape
        ``height``, ``width`` and ``channels`` of an image, and how X stores it.
    plan_ : Plan
        The network, layer by layer.
    module_ : torch.nn.Module
        The trained network. It takes images as ``(n, channels, height, width)`` and gives logits.
    net_ : skorch.NeuralNetClassifier
        The skorch net of the last fit; absent after unpickling. With several labels an image it is a
        plain ``skorch.NeuralNet``.
    history_ : list of dict
        Figures of every epoch.
    loss_curve_ : list of float
        Training loss of every epoch.
    validation_loss_curve_ : list of float or None
        Validation loss of every epoch, None for an epoch without a validation part; None where no
        epoch had one.
    validation_scores_ : list of float or None
        Validation accuracy of every epoch, likewise. With several labels an image it is the share of
        images of which every label is right.
    best_epoch_ : int or None
        Epoch, counted from 1, with the best validation accuracy in the last fit (of equals, the one
        with the lowest loss). With `early_stopping` the weights are those of this epoch.
    n_iter_ : int
        Epochs trained.
    batch_size_ : int
        Images a step.
    device_ : str
        Where the network is.
    precision_ : str
        How `fit` computed.
    pixel_range_ : (float, float)
        Smallest and largest pixel of the training images, in all calls that trained this network.
    task_ : Labels or Indicators
        Whether the network tells one label an image or several, and which.

    See Also
    --------
    CNNRegressor : Numbers in place of labels.
    sklearn.neural_network.MLPClassifier : A network of dense layers.

    Notes
    -----
    The same `random_state` on the same machine and number of threads gives the same weights, bit by
    bit. The order of a block differs from the usual convolution, normalisation, activation, pool: the
    pool comes first, so that the two others work on a quarter of the values. It is not the same
    function, but a maximum commutes with both where the normalisation has a positive factor.

    References
    ----------
    .. [1] Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
       internal covariate shift", 2015, arXiv:1502.03167.
    .. [2] Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
       JMLR 15, 2014.
    .. [3] Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, arXiv:1711.05101.
    .. [4] Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations",
       2024, arXiv:2405.18392.
    .. [5] Szegedy et al., "Rethinking the inception architecture for computer vision", 2016,
       arXiv:1512.00567.
    .. [6] Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> digits = load_digits()
    >>> X, y = digits.images, digits.target  # 1,797 images of 8×8
    >>> clf = CNNClassifier(random_state=0).fit(X[:1500], y[:1500])
    >>> clf.predict(X[1500:]).shape
    (297,)
    >>> clf.score(X[1500:], y[1500:]) > 0.95
    True
    """

    task_: Labels | Indicators

    _first_targets = staticmethod(first_labels)
    _count_outputs = staticmethod(count_labels)

    _parameter_constraints: dict[str, Any] = {
        **BaseCNN._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        filters: Any = "auto",
        *,
        kernel_size: Any = 3,
        stride: Any = 1,
        padding: Any = "same",
        padding_mode: str = "zeros",
        dilation: Any = 1,
        convs_per_block: Any = "auto",
        pooling: Any = "max",
        pool_size: Any = 2,
        pool_stride: Any = None,
        global_pooling: str | None = "auto",
        activation: str = "relu",
        normalization: str | None = "batch",
        hidden_layer_sizes: Any = "auto",
        dropout: float | str = "auto",
        architecture: Any = None,
        weights: Any = None,
        trainable_blocks: int | str = "all",
        backbone_lr: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        augmenter: ImageAugmenter | str | None = "auto",
        standardize: bool = True,
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        lr_schedule: str = "auto",
        label_smoothing: float = 0.05,
        batch_size: int | str = "auto",
        max_epochs: int | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        device: Any = "auto",
        precision: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        skorch_callbacks: Any = None,
    ) -> None:
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.padding_mode = padding_mode
        self.dilation = dilation
        self.convs_per_block = convs_per_block
        self.pooling = pooling
        self.pool_size = pool_size
        self.pool_stride = pool_stride
        self.global_pooling = global_pooling
        self.activation = activation
        self.normalization = normalization
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.architecture = architecture
        self.weights = weights
        self.trainable_blocks = trainable_blocks
        self.backbone_lr = backbone_lr
        self.image_shape = image_shape
        self.channels = channels
        self.augmenter = augmenter
        self.standardize = standardize
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.label_smoothing = label_smoothing
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.skorch_callbacks = skorch_callbacks

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, n_features)
            Images: grey, with their channels last or first, or flattened. A list of arrays or PIL
            images of one size, a torch tensor, a frame or a memory map will do as well. Never
            written to.
        y : array-like of shape (n,), or array-like or sparse matrix of shape (n, n_labels)
            Labels: numbers, strings or bools. Where an image has several: an indicator matrix, 1 or True
            for the labels it has, which are then learnt side by side.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images.
        X_val, y_val : array-like or None, default=None
            Validation images and their labels, in place of a part of the training images.
        sample_weight_val : array-like or None, default=None
            Weights of the validation images.

        Returns
        -------
        CNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            Where a parameter, the images or the labels cannot be used, before any training.
        NonFiniteLossError
            Where a loss or a weight becomes NaN or infinite. The estimator is then as before.
        OSError
            Where `checkpoint` cannot be read or written.
        """
        return self._fit_whole(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch at a constant learning rate, on from where the network is.

        Parameters
        ----------
        X : array-like of images
            As for `fit`; of the shape of the first call.
        y : array-like of shape (n,), or array-like or sparse matrix of shape (n, n_labels)
            Labels, as for `fit`.
        classes : array-like of shape (n_classes,) or None, default=None
            All labels that will ever come; needed at the first call. For an indicator matrix,
            ``np.arange(n_labels)``.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images.

        Returns
        -------
        CNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            As for `fit`; at a first call without `classes`, for a label that is not among them, and
            for ``class_weight="balanced"``, which one call cannot know.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which sees a part of the labels at a time; "
                "compute the weights with sklearn.utils.compute_class_weight and pass them as a dict."
            )
        resume = hasattr(self, "module_")
        if not resume and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if resume and classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(
                f"classes={np.unique(np.asarray(classes))} are not those of the first call to partial_fit: "
                f"{self.classes_}."
            )
        return self._fit_part(X, y, sample_weight, classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict labels.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_labels)
            Labels, as they were in `y`; an indicator matrix of int64, 0 and 1, where `y` was one.
        """
        outputs = self._outputs(X)
        return self.task_.decode(outputs)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the probability of every class.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Softmax of the logits, in the order of `classes_`; with several labels an image the sigmoid
            of each, so that rows need not sum to 1.
        """
        logits = self._outputs(X).astype(np.float64)
        return self.task_.probabilities(logits)

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict the logarithm of the probability of every class.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`; finite also where the probability rounds to 0.
        """
        logits = self._outputs(X).astype(np.float64)
        return self.task_.log_probabilities(logits)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Compute logits.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes
            Logits; for two classes the second less the first, positive where the second is predicted.
            With several labels an image one for each, positive where it is predicted.
        """
        logits = self._outputs(X)
        return self.task_.decision(logits)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
