"""Theano is imported after the package has set it up, whichever test comes first."""
import vocalsynth_utils  # noqa: F401
