"""The one exception for input that a user has to mend."""


class InputError(ValueError):
  """Bad input: one line saying what, where (file, record, position), what to do.

  Entry points print the message alone and exit with status 2.
  """
