"""One self-contained HTML page about one or several runs."""

from pml_incremental.report.page.closer_look import ClassChange, FoundImage, QueryChange, RunDetails
from pml_incremental.report.page.page import write_page
from pml_incremental.report.page.run_record import RunRecord

__all__ = ["ClassChange", "FoundImage", "QueryChange", "RunDetails", "RunRecord", "write_page"]
