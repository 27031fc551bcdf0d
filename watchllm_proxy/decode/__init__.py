"""Exchange -> Call: five API dialects, one object or a stream, into one shape.

    content    content encodings, with caps against bombs
    canonical  JSON in one spelling, and what is refused because it cannot be kept exactly
    request    dialects, rebuild (skeleton and messages), pieces (what a message says), mentions (ids in it),
               known (messages that were read before)
    response   sse, lenient (JSON, nearly), then chat | completions | responses | messages: read one object, or
               assemble a stream into it
    ids        who sent it: run and session ids, users, tags
    call       all of it together
    recalled   a stored call, understood again
    generation what was told afterwards of a broken call's cost

Pure: no IO, no clock, no logging, no environment.
"""

from watchllm_proxy.decode.call import decode
from watchllm_proxy.decode.generation import settlement_of
from watchllm_proxy.decode.known import KnownMessages
from watchllm_proxy.decode.pieces import combined_link_hash
from watchllm_proxy.decode.rebuild import rebuild
from watchllm_proxy.decode.recalled import recalled

__all__ = ["KnownMessages", "combined_link_hash", "decode", "rebuild", "recalled", "settlement_of"]
