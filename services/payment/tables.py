"""The tables of Payment's database; migrations/ makes them, with their constraints."""

from sqlalchemy import BigInteger, Column, DateTime, Table, Text, Uuid, func

from services.shared import db

metadata = db.metadata()

Id = Uuid(as_uuid=False)
Time = DateTime(timezone=True)

wallets = Table(
    "wallets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", Time, nullable=False, server_default=func.now()),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("currency", Text, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("post_time", Time),
)

transactions = Table(
    "transactions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("type", Text, nullable=False),
    Column("payment_id", Id),
    Column("reference", Text),
    Column("create_time", Time, nullable=False, server_default=func.now()),
)

memos = Table(
    "memos",
    metadata,
    Column("transaction_id", Id, primary_key=True),
    Column("description", Text, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("transaction_id", Id, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("wallet_id", Id, nullable=False),
    Column("account_id", Id, nullable=False),
    Column("creator", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("course_id", Id),
    Column("payment_id", Id),
    Column("expire_time", Time, nullable=False),
    Column("create_time", Time, nullable=False, server_default=func.now()),
)
