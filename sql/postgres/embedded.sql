-- What an embedded server holds before the first migration; run by psql at every start.
-- The application's role owns nothing and is no superuser, so row security binds it (security.sql says how).
SELECT 'CREATE ROLE watchllm_app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'watchllm_app') \gexec
SELECT 'CREATE DATABASE watchllm' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'watchllm') \gexec
