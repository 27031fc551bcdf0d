-- The role that the application logs in as, for compose.yaml: the image of Postgres runs this with psql when it makes
-- the database. It owns nothing and is no superuser, so row security binds it; `migrate` lets it take on the roles of
-- security.sql.
\getenv password WATCHLLM_APP_PASSWORD
CREATE ROLE watchllm_app LOGIN PASSWORD :'password';
