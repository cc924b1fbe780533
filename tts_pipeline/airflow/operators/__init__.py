"""The operators, each as thin as ``execute`` -> ``job``."""
