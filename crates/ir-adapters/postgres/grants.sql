-- What the executor's role needs, and nothing more. PostgreSQL 14 and 15; for 16 and newer see the end.
--
-- Run it as a superuser in any database of the server, after setting the password in a way that leaves no trace in logs
-- (`\password incident_response` in psql):
--
--     CREATE ROLE incident_response LOGIN;
--     \i grants.sql

-- To see what others run, and for how long: without it their sessions look as if they did nothing.
GRANT pg_read_all_stats TO incident_response;

-- To cancel queries and end sessions of anybody but superusers.
GRANT pg_signal_backend TO incident_response;

-- To cap connections and set timeouts of other roles. Leave this line out where these actions are not wanted: up to PostgreSQL 15
-- CREATEROLE may alter every role but superusers, and may grant itself membership in most of them. The list `roles` of the
-- executor bounds what the executor does with it, not what somebody does who steals its password.
ALTER ROLE incident_response CREATEROLE;

-- A few connections are enough: one is kept, another is made when two calls meet.
ALTER ROLE incident_response CONNECTION LIMIT 4;

-- PostgreSQL 16 and newer: CREATEROLE alone alters only roles that it administers. For each role of the list:
--     GRANT reports TO incident_response WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
-- and let it use the connections kept for such cases (set `reserved_connections` above 0):
--     GRANT pg_use_reserved_connections TO incident_response;
