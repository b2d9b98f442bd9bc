import pytest

from pml_incremental.strategies import Component


@pytest.mark.parametrize(
    ("former", "now"),
    [("begin_task", "before_task"), ("measure", "after_task"), ("end_task", "after_task")],
)
def test_methods_that_would_never_be_called_are_refused(former, now):
    with pytest.raises(TypeError, match=rf"Own\.{former} would never be called.* {now}\("):
        type("Own", (Component,), {former: lambda self: None})
