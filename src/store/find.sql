SELECT key FROM tower_oidc_records WHERE tag1 = $1
UNION SELECT key FROM tower_oidc_records WHERE tag2 = $1
UNION SELECT key FROM tower_oidc_records WHERE tag3 = $1
UNION SELECT key FROM tower_oidc_records WHERE tag4 = $1
UNION SELECT key FROM tower_oidc_records WHERE tag5 = $1
UNION SELECT key FROM tower_oidc_records WHERE tag6 = $1
