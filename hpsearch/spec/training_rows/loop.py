"""The hyperparameters of the loss and of the training loop."""

from hpsearch.spec.rows import Hyperparameter

ROWS = (
    Hyperparameter(
        "label_smoothing",
        float,
        0.0,
        "Share of each label that is spread evenly over all classes; the losses that are shown are without it.",
        0.0,
        0.9,
        plain=0.0,
        place=145,
        group="loss",
    ),
    Hyperparameter(
        "class_weight",
        str,
        "none",
        "balanced: an image weighs in inverse proportion to how many training images its class has.",
        choices=("none", "balanced"),
        plain="none",
        place=146,
        group="loss",
    ),
    Hyperparameter("batch_size", int, 32, "Images in a training step.", 1, 8192, place=100, group="loop"),
    Hyperparameter(
        "precision",
        str,
        "auto",
        "auto: bfloat16 with float32 weights where the device computes that faster; float32: always that, the default "
        "for a model of your own.",
        choices=("auto", "float32"),
        place=180,
        group="loop",
    ),
)
