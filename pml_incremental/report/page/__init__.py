"""One self-contained HTML page about one or several runs."""

from pml_incremental.report.page.closer_look import ClassChange, Details, FoundImage, QueryChange
from pml_incremental.report.page.page import write_page
from pml_incremental.report.page.run_record import RunRecord

__all__ = ["ClassChange", "Details", "FoundImage", "QueryChange", "RunRecord", "write_page"]
