SET default_transaction_isolation = 'read committed';
SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN '2000' ELSE '2500' END, false)
FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout') AND source <> 'client'
