-- Who there is. Only programs of this machine can reach the server, so nobody needs a password.
CREATE ROLE shop LOGIN;
CREATE ROLE reports LOGIN;
CREATE ROLE exporter LOGIN IN ROLE pg_monitor;
CREATE ROLE incident_response LOGIN;

-- What the shop sells: found by an index.
CREATE TABLE orders AS
    SELECT id, id % 977 AS customer, (id * 7919) % 10007 AS total FROM generate_series(1, 20000) AS id;
ALTER TABLE orders ADD PRIMARY KEY (id);
CREATE TABLE stock AS SELECT id, 1000000 AS pieces FROM generate_series(1, 500) AS id;
ALTER TABLE stock ADD PRIMARY KEY (id);

-- What reports work on: one row each, locked while a report is made.
CREATE TABLE report AS SELECT id, 0::bigint AS lines FROM generate_series(1, 2) AS id;
ALTER TABLE report ADD PRIMARY KEY (id);

GRANT SELECT ON orders TO shop, reports;
GRANT SELECT, UPDATE ON stock TO shop;
GRANT SELECT, UPDATE ON report TO reports;
ANALYZE;
