-- Rules of a project's own for what is taken out of its calls.
ALTER TABLE projects
    ADD COLUMN redaction_rules jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(redaction_rules) = 'object');
