"""CloudWatch and CloudWatch Logs: metrics, alarms and queries.

alarms            evaluated by the clock, on exactly their metric or expression
get_metric_data   GetMetricData answers with metric math
metric_math       queries and expressions, computed from the stored data points
metrics_insights  queries of Metrics Insights
embedded_metrics  metrics that log lines declare (EMF)
log_events        FilterLogEvents by the streams' names, page after page
logs_insights     queries of Logs Insights
"""
