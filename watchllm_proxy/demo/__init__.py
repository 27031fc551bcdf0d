"""What `watchllm demo` runs: a scripted model and sample agents that talk to it through the real proxy.

    script        what the model says: a table of scenarios, turn by turn
    conversation  a request of any of the three APIs, read as far as the script needs it
    answers       one answer, written as chat completions, Responses or Messages; plain or streamed
    model         the model as an OpenAI-compatible server on a loopback port
    client        a small HTTP client of the three APIs, as a home-made agent has one
    tools, agents the sample agents, and what they can do

Nothing here is needed to watch real agents. The commands borrow `json_access`, which reads JSON from outside.
"""
