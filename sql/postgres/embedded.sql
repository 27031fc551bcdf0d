-- What an embedded server holds before the first migration; run by psql at every start.
-- The application's role owns nothing and is no superuser, so row security binds it.
SELECT 'CREATE ROLE watchllm_app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'watchllm_app') \gexec
SELECT 'CREATE DATABASE watchllm' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'watchllm') \gexec
\connect watchllm
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO watchllm_app;
