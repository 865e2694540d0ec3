"""What operators ask and do, by whichever face: the command line, the API, the dashboard."""
