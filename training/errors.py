"""What goes wrong before or while a recipe runs."""

from mull.errors import MullError


class TrainingError(MullError):
    """A recipe, its data or its models are not fit for training; the message says which part and why."""

    code = "training_error"
