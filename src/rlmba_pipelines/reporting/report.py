from rlmba_pipelines.reporting.data import ReportData


def render_report(data: ReportData) -> str:
    return "<html></html>"
