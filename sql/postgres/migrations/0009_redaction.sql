-- What a project wants taken out of its calls before anything of them is stored.
ALTER TABLE projects ADD COLUMN redaction text CHECK (redaction IN ('off', 'secrets', 'all'));
