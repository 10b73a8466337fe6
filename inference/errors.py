"""The one exception family: a mistake that the user can mend, told in one line."""


class YaqinError(Exception):
    """What was expected, what was found, what to do. The command line prints it and exits with 2."""


class MissingExtraError(YaqinError):
    """A command needs packages that the plain install leaves out."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, extra)  # both, so that a worker process can hand it back

    def __str__(self) -> str:
        what, extra = self.args
        return f"{what} needs the extra '{extra}', which is not installed: pip install 'yaqin[{extra}]'"
