-- Who may see and change which rows. Run by `migrate` as the tables' owner, after the migrations, whenever this
-- file or the list of tables changed; it may run again. Decision 0145 tells why it is built so.
--
-- `watchllm.tables`       our tables, comma between them: those that the migrations make. Others of the schema are
--                         somebody else's, and are not touched
-- `watchllm.application`  the role that the application logs in as; empty: the owner itself
--
-- Three roles nobody logs in as. A transaction takes one of them on (store/transactions.py):
--   watchllm_recorder  all rows of all projects
--   watchllm_reader    rows of the project that the transaction names in `watchllm.project_id`, and only to look
--   watchllm_keyring   hashes of project keys, of all projects, and the terms of those
DO $security$
DECLARE
    one_role text;
    member text;
    members text[];
    one_table text;
    holder text;
    has_project boolean;
BEGIN
    FOREACH one_role IN ARRAY ARRAY['watchllm_recorder', 'watchllm_reader', 'watchllm_keyring'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = one_role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', one_role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server migrates at this moment: roles are the server's
            END;
        END IF;
    END LOOP;

    -- The owner, and the application unless somebody has chosen already which of the roles it gets.
    members := ARRAY(
        SELECT rolname::text FROM pg_roles
        WHERE rolname = current_user
           OR (rolname IN ('watchllm_app', current_setting('watchllm.application', true))
               AND NOT pg_has_role(rolname, 'watchllm_recorder', 'USAGE')
               AND NOT pg_has_role(rolname, 'watchllm_reader', 'USAGE')
               AND NOT pg_has_role(rolname, 'watchllm_keyring', 'USAGE'))
    );
    FOREACH one_role IN ARRAY ARRAY['watchllm_recorder', 'watchllm_reader', 'watchllm_keyring'] LOOP
        FOREACH member IN ARRAY members LOOP
            IF NOT pg_has_role(member, one_role, 'USAGE') THEN
                EXECUTE format('GRANT %I TO %I', one_role, member);
            END IF;
        END LOOP;
        IF NOT has_schema_privilege(one_role, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), one_role);
        END IF;
    END LOOP;

    FOREACH one_table IN ARRAY string_to_array(current_setting('watchllm.tables'), ',') LOOP
        CONTINUE WHEN to_regclass(one_table) IS NULL;  -- a later migration dropped it

        -- Supabase hands every new table to the roles of its public API.
        FOR holder IN
            SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'watchllm_app')
            UNION ALL VALUES ('public')
        LOOP
            EXECUTE format('REVOKE ALL ON %I FROM ', one_table)
                || CASE holder WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(holder) END;
        END LOOP;

        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one_table);
        EXECUTE format('DROP POLICY IF EXISTS all_projects ON %I', one_table);
        EXECUTE format('DROP POLICY IF EXISTS own_project ON %I', one_table);
        EXECUTE format('REVOKE ALL ON %I FROM watchllm_recorder, watchllm_reader, watchllm_keyring', one_table);

        IF one_table = 'schema_migrations' THEN
            -- The owner writes it while the roles are not there yet, so it is not forced; it holds nobody's rows.
            EXECUTE 'CREATE POLICY all_projects ON schema_migrations FOR SELECT
                     TO watchllm_recorder, watchllm_reader, watchllm_keyring USING (true)';
            EXECUTE 'GRANT SELECT ON schema_migrations TO watchllm_recorder, watchllm_reader, watchllm_keyring';
            CONTINUE;
        END IF;

        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', one_table);
        EXECUTE format('CREATE POLICY all_projects ON %I TO watchllm_recorder USING (true) WITH CHECK (true)', one_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO watchllm_recorder', one_table);

        SELECT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass(one_table) AND attname = 'project_id' AND NOT attisdropped
        ) INTO has_project;
        IF one_table = 'plans' THEN  -- nobody's in particular: everybody may look
            EXECUTE 'DROP POLICY IF EXISTS everybody ON plans';
            EXECUTE 'CREATE POLICY everybody ON plans FOR SELECT TO watchllm_reader, watchllm_keyring USING (true)';
            EXECUTE 'GRANT SELECT ON plans TO watchllm_reader, watchllm_keyring';
        END IF;
        IF has_project THEN
            -- A name that was never set is NULL, one that was set in an earlier transaction is '': both see nothing.
            EXECUTE format('CREATE POLICY own_project ON %I FOR SELECT TO watchllm_reader
                            USING (project_id = nullif(current_setting(''watchllm.project_id'', true), ''''))', one_table);
            IF one_table NOT IN ('api_keys', 'provider_keys', 'people', 'sessions') THEN  -- they hold secrets: see below
                EXECUTE format('GRANT SELECT ON %I TO watchllm_reader', one_table);
            END IF;
        END IF;
    END LOOP;

    GRANT SELECT (key_id, project_id, name, key_prefix, scopes, created_at, revoked_at,
        requests_per_minute, monthly_cap_usd, expires_at, replaced_by) ON api_keys TO watchllm_reader;
    GRANT SELECT (project_id, last_four, set_at) ON provider_keys TO watchllm_reader;
    GRANT SELECT (user_name, project_id, scopes, created_at) ON people TO watchllm_reader;
    GRANT SELECT (project_id, user_name, created_at, expires_at) ON sessions TO watchllm_reader;
    DROP POLICY IF EXISTS all_keys ON api_keys;
    CREATE POLICY all_keys ON api_keys FOR SELECT TO watchllm_keyring USING (true);
    GRANT SELECT ON api_keys TO watchllm_keyring;
    DROP POLICY IF EXISTS all_terms ON projects;
    CREATE POLICY all_terms ON projects FOR SELECT TO watchllm_keyring USING (true);
    GRANT SELECT ON projects TO watchllm_keyring;
    DROP POLICY IF EXISTS all_provider_keys ON provider_keys;
    CREATE POLICY all_provider_keys ON provider_keys FOR SELECT TO watchllm_keyring USING (true);
    GRANT SELECT ON provider_keys TO watchllm_keyring;
END
$security$;
