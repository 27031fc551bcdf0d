"""What `watchllm demo` runs: a scripted model and sample agents that talk to it through the real proxy.

    script     what the model says: a table of scenarios, turn by turn
    dialects   one answer, written as chat completions, Responses or Messages; plain or streamed
    model      the model as an OpenAI-compatible server on a loopback port
    client     a small HTTP client of the three APIs, as a home-made agent has one
    agents     the sample agents and their tools
    tree       a run as a tree in the terminal (the `show` command's too)

Nothing here is needed to watch real agents; nothing in the product imports it but the command line.
"""
