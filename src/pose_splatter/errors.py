"""The one error that is the user's to mend: a sentence with the file, the place and the fix."""


class PoseSplatterError(Exception):
    """Bad input. The message is one readable sentence; scripts print it and exit with 1."""
