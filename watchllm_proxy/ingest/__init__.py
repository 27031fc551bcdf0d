"""Runs and events that clients report: what may be said, what was said, and the run that it comes to. Sans-IO.

    shapes    what a report may hold, field by field; the request schemas of openapi.json are made of it
    reading   a request body -> a report to keep, item by item where there are many, or why it cannot be taken
    tellings  a kept report -> what it tells of each run and which events
    making    a reported step or event -> a Step
    runs      all that was told of a run -> Run and Steps, whatever came first

Numbers are never rounded: bodies are kept as they were spelt, and read as decimals (decision 0172).
"""
