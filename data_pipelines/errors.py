"""The one exception for input that a user has to mend."""


class InputError(ValueError):
  """Bad input: one line with what, where and what to do about it.

  Entry points print the message alone and exit with status 2.
  """
