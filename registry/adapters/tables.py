"""The registry's tables. Documents are JSON text; what is looked up by has a column."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

HEAD = Table(
    "head",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("issued_us", BigInteger, nullable=False),
    Column("audit_seq", BigInteger, nullable=False),
    Column("audit_digest", String(64), nullable=False),
)
"""One row. Every writer first updates it, and so waits for the writer before it."""

VERSIONS = Table(
    "versions",
    METADATA,
    Column("model", String(63), primary_key=True),
    Column("version", String(32), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("model", "digest"),
)

ROUTES = Table(
    "routes",
    METADATA,
    Column("model", String(63), primary_key=True),
    Column("document", Text, nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String(63), nullable=False, index=True),
    Column("document", Text, nullable=False),
)

REPLICAS = Table(
    "replicas",
    METADATA,
    Column("replica", String(128), primary_key=True),
    Column("seen_wall_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

MIRROR = Table(
    "mirror",
    METADATA,
    Column("model", String(63), primary_key=True),
    Column("document", Text, nullable=False),
)

MEMORY = Table(
    "memory",
    METADATA,
    Column("principal", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("wall_us", BigInteger, nullable=False, index=True),
)
"""Idempotency keys and the answers they got."""

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", String(96), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("model", String(63), nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("warm_until_us", BigInteger, nullable=True),
    Column("document", Text, nullable=False),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("rollout_id", String(96), nullable=False, index=True),
    Column("at_us", BigInteger, nullable=False),
    Column("wall_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""Verdicts that said something new; what changed anything is in the audit log as well."""

EXPERIMENTS = Table(
    "experiments",
    METADATA,
    Column("id", String(96), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("model", String(63), nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("document", Text, nullable=False),
)

LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until_wall_us", BigInteger, nullable=False),
)

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("document", Text, nullable=False),
)
