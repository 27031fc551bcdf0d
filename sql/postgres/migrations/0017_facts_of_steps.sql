-- What steps must tell so that it can be seen in them: answers cut off, huge outputs, prompts that changed.
ALTER TABLE agent_debug_steps ADD COLUMN finish_reason text;
ALTER TABLE agent_debug_steps ADD COLUMN output_chars bigint;
ALTER TABLE agent_debug_steps ADD COLUMN prompt_hash text;
