-- From where on something is worth a look, where a project says otherwise than all.
ALTER TABLE projects
    ADD COLUMN flag_thresholds jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(flag_thresholds) = 'object');
