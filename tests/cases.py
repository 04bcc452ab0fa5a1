"""Many small cases in one test."""

import functools
import inspect


def for_every(names, values):
    """Call a test once with each value, as ``pytest.mark.parametrize`` would, but as one test.

    For grids of cases that take less time than a test of their own costs. What fails says in a note which case it was.

    Parameters
    ----------
    names : str or tuple of str
        Names of arguments; several, also in one string with commas, take values that are tuples.
    values : iterable
        What the arguments are, one after the other.
    """
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = [dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in values]

    def decorated(test):
        signature = inspect.signature(test)

        @functools.wraps(test)
        def test_every_case(**fixtures):
            for case in cases:
                try:
                    test(**fixtures, **case)
                except BaseException as error:
                    error.add_note(f"with {', '.join(f'{name}={value!r}' for name, value in case.items())}")
                    raise

        # pytest takes what is left of the signature for fixtures.
        left = [parameter for name, parameter in signature.parameters.items() if name not in names]
        test_every_case.__signature__ = signature.replace(parameters=left)
        return test_every_case

    return decorated
