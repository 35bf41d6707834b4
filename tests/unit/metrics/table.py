"""The table of metrics in docs/monitoring.md: `python -m tests.unit.metrics.table` writes it."""

from pathlib import Path

from tesp_api.metrics.page import Metrics

PAGE = Path(__file__).parents[3] / "docs/monitoring.md"
BEGIN, END = "<!-- metrics -->\n", "<!-- /metrics -->\n"


def table() -> str:
    """All metrics of our own."""
    rows = ["| metric | kind | labels | what it is |", "|---|---|---|---|"]
    for one in Metrics().describe_all():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """docs/monitoring.md with the table as it is to be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
