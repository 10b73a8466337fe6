"""The seed article (package data) and, in the repository, the labelled data."""
