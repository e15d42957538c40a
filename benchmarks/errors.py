"""The errors a user can meet. Each message says what is wrong, where, what was expected and what to do."""


class UnseenError(Exception):
    """Root of all errors that the command line prints without a traceback."""


class StudyError(UnseenError):
    """A study file, a name in it or a value in it is wrong."""


class DataError(UnseenError):
    """A data set is missing, damaged, or does not hold what the study asks for."""


class SignalError(DataError):
    """Signals of a subject are unusable and the study says that this must stop it."""


class ValuesError(StudyError):
    """Values of a part are of the wrong kind, or missing.

    Parameters
    ----------
    message : str
        What is wrong.
    names : tuple of str
        Of these values.
    """

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message, names)
        self.names = names

    def __str__(self) -> str:
        return str(self.args[0])


class LearningError(UnseenError):
    """A strategy cannot learn from what it was given, or its training diverged."""


class ResultsError(UnseenError):
    """The results folder or file cannot be read or written."""
