-- What steps must tell so that tools that nobody needs, and answers at odds with what tools gave, can be seen in them.
ALTER TABLE agent_debug_steps ADD COLUMN offered_tools text;
ALTER TABLE agent_debug_steps ADD COLUMN contradiction text;
