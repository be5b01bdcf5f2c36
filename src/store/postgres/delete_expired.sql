WITH deleted AS (
    DELETE FROM tower_oidc_records WHERE key IN (
        SELECT key FROM tower_oidc_records
        WHERE expires_at <= least($1, floor(extract(epoch FROM now()) * 1000)::bigint)
        LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING key
)
SELECT count(*) FROM deleted
