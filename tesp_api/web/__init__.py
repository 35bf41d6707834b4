"""The dashboard: plain ES modules and CSS in `static/`, and what reads them for the API to serve."""
