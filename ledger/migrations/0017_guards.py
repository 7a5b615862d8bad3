"""Guards that cost a transfer little: conditions that a row's trigger has PostgreSQL check itself, and triggers that
look at all rows of a statement at once, which stand in for foreign keys, too. Nothing is rewritten; the tables are
locked only while this runs."""

import django.db.models.deletion
from django.db import migrations, models

ACCOUNTS = """
DROP TRIGGER ledger_account_guard ON ledger_account;
DROP FUNCTION ledger_account_guard();

CREATE FUNCTION ledger_account_fell() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'the counters of an account never fall' USING ERRCODE = 'check_violation';
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_account_counters AFTER UPDATE ON ledger_account FOR EACH ROW
    WHEN (NEW.spent < OLD.spent OR NEW.gained < OLD.gained OR NEW.received < OLD.received
        OR NEW.deposited < OLD.deposited OR NEW.set_size < OLD.set_size)
    EXECUTE FUNCTION ledger_account_fell();

CREATE FUNCTION ledger_account_overspent() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'account_never_overspent: wallet % in eon %', NEW.wallet_id, NEW.eon_number
        USING ERRCODE = 'check_violation';
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_account_spending AFTER UPDATE ON ledger_account FOR EACH ROW
    WHEN (NEW.opening + NEW.deposited + NEW.gained + NEW.received + NEW.swapped - NEW.withdrawn < NEW.spent
        AND NEW.spent - NEW.gained - NEW.swapped > OLD.spent - OLD.gained - OLD.swapped)
    EXECUTE FUNCTION ledger_account_overspent();
CREATE TRIGGER ledger_account_first_spending AFTER INSERT ON ledger_account FOR EACH ROW
    WHEN (NEW.opening + NEW.deposited + NEW.gained + NEW.received + NEW.swapped - NEW.withdrawn < NEW.spent
        AND NEW.spent - NEW.gained - NEW.swapped > 0)
    EXECUTE FUNCTION ledger_account_overspent();

CREATE FUNCTION ledger_accounts_guard() RETURNS trigger AS $$
DECLARE
    closed bigint;
BEGIN
    SELECT n.eon_number INTO closed FROM (SELECT DISTINCT eon_number FROM written) n
        JOIN ledger_rootcommitment r ON r.eon_number = n.eon_number + 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the ledger of eon % is closed', closed USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM written n WHERE n.active_state_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ledger_activestate s WHERE s.id = n.active_state_id AND s.wallet_id = n.wallet_id
            AND s.eon_number = n.eon_number)) THEN
        RAISE EXCEPTION 'an account names a state that is not of its wallet in its eon'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql {lookups};
CREATE TRIGGER ledger_accounts_added AFTER INSERT ON ledger_account
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_accounts_guard();
CREATE TRIGGER ledger_accounts_changed AFTER UPDATE ON ledger_account
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_accounts_guard();
"""

STATES = """
CREATE FUNCTION ledger_states_guard() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM added n WHERE NOT EXISTS (SELECT FROM ledger_wallet w WHERE w.id = n.wallet_id)) THEN
        RAISE EXCEPTION 'a state has no wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql {lookups};
CREATE TRIGGER ledger_states_added AFTER INSERT ON ledger_activestate
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_states_guard();
"""

TRANSFERS = """
DROP TRIGGER ledger_transfer_guard ON ledger_transfer;
DROP FUNCTION ledger_transfer_guard();

CREATE FUNCTION ledger_transfers_guard() RETURNS trigger AS $$
DECLARE
    there boolean;
BEGIN
    SELECT w.id IS NOT NULL AND r.id IS NOT NULL INTO there FROM added n
        LEFT JOIN ledger_wallet w ON w.id = n.wallet_id LEFT JOIN ledger_wallet r ON r.id = n.recipient_id
        WHERE w.id IS NULL OR r.id IS NULL OR NOT n.swap AND w.token_id <> r.token_id LIMIT 1;
    IF FOUND AND there THEN
        RAISE EXCEPTION 'a transfer stays within its token' USING ERRCODE = 'check_violation';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'a transfer has no wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF EXISTS (SELECT FROM added n WHERE NOT EXISTS (SELECT FROM ledger_activestate s
            WHERE s.id = n.sender_active_state_id AND s.wallet_id = n.wallet_id AND s.eon_number = n.eon_number))
        OR EXISTS (SELECT FROM added n CROSS JOIN LATERAL (VALUES
                (n.recipient_id, n.recipient_active_state_id),
                (n.recipient_id, n.recipient_fulfillment_active_state_id),
                (n.recipient_id, n.recipient_finalization_active_state_id),
                (n.recipient_id, n.recipient_cancellation_active_state_id),
                (n.wallet_id, n.sender_cancellation_active_state_id)) named (wallet_id, state)
            WHERE num_nonnulls(n.recipient_active_state_id, n.recipient_fulfillment_active_state_id,
                n.recipient_finalization_active_state_id, n.recipient_cancellation_active_state_id,
                n.sender_cancellation_active_state_id) > 0
            AND named.state IS NOT NULL AND NOT EXISTS (SELECT FROM ledger_activestate s
                WHERE s.id = named.state AND s.wallet_id = named.wallet_id AND s.eon_number = n.eon_number)) THEN
        RAISE EXCEPTION 'a transfer names a state that is not of its wallet in its eon'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql {lookups};
CREATE TRIGGER ledger_transfers_added AFTER INSERT ON ledger_transfer
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_transfers_guard();

CREATE FUNCTION ledger_transfer_closed() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM (VALUES
                (NEW.recipient_id, NEW.recipient_finalization_active_state_id),
                (NEW.recipient_id, NEW.recipient_cancellation_active_state_id),
                (NEW.wallet_id, NEW.sender_cancellation_active_state_id)) named (wallet_id, state)
            WHERE named.state IS NOT NULL AND NOT EXISTS (SELECT FROM ledger_activestate s
                WHERE s.id = named.state AND s.wallet_id = named.wallet_id AND s.eon_number = NEW.eon_number)) THEN
        RAISE EXCEPTION 'a transfer names a state that is not of its wallet in its eon'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql {lookups};
CREATE TRIGGER ledger_transfer_closed AFTER UPDATE OF recipient_finalization_active_state_id,
        recipient_cancellation_active_state_id, sender_cancellation_active_state_id ON ledger_transfer FOR EACH ROW
    WHEN (OLD.recipient_finalization_active_state_id IS DISTINCT FROM NEW.recipient_finalization_active_state_id
        OR OLD.recipient_cancellation_active_state_id IS DISTINCT FROM NEW.recipient_cancellation_active_state_id
        OR OLD.sender_cancellation_active_state_id IS DISTINCT FROM NEW.sender_cancellation_active_state_id)
    EXECUTE FUNCTION ledger_transfer_closed();
"""

# What rows name stays, and stays what it was: so that it is there needs to be seen once, and needs no lock.
LASTING = """
CREATE FUNCTION ledger_stays() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'row % of % stays as it is: others name it', OLD.id, TG_TABLE_NAME
        USING ERRCODE = 'foreign_key_violation';
END $$ LANGUAGE plpgsql;
DROP TRIGGER ledger_wallet_guard ON ledger_wallet;
DROP FUNCTION ledger_wallet_guard();
CREATE TRIGGER ledger_wallet_stays BEFORE DELETE ON ledger_wallet
    FOR EACH ROW EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_wallet_named AFTER UPDATE OF id, token_id ON ledger_wallet FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.token_id <> NEW.token_id) EXECUTE FUNCTION ledger_stays();
DROP TRIGGER ledger_activestate_guard ON ledger_activestate;
DROP FUNCTION ledger_activestate_guard();
CREATE TRIGGER ledger_activestate_stays BEFORE DELETE ON ledger_activestate
    FOR EACH ROW EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_activestate_named AFTER UPDATE OF id, wallet_id, eon_number ON ledger_activestate FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.wallet_id <> NEW.wallet_id OR OLD.eon_number <> NEW.eon_number)
    EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_transfer_fixed AFTER UPDATE OF wallet_id, recipient_id, eon_number, sender_active_state_id,
        recipient_active_state_id, recipient_fulfillment_active_state_id ON ledger_transfer FOR EACH ROW
    WHEN (OLD.wallet_id <> NEW.wallet_id OR OLD.recipient_id <> NEW.recipient_id
        OR OLD.eon_number <> NEW.eon_number OR OLD.sender_active_state_id <> NEW.sender_active_state_id
        OR OLD.recipient_active_state_id IS DISTINCT FROM NEW.recipient_active_state_id
        OR OLD.recipient_fulfillment_active_state_id IS DISTINCT FROM NEW.recipient_fulfillment_active_state_id)
    EXECUTE FUNCTION ledger_stays();
"""

# The plan is kept for the session, and may be made while a table is small: each row is looked up by the index.
LOOKUPS = (
    "SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET enable_seqscan = off"
    " SET enable_bitmapscan = off"
)


def state(null: bool = True) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        null=null,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="ledger.activestate",
    )


def wallet(**options: str) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        to="ledger.wallet",
        **options,
    )


class Migration(migrations.Migration):
    dependencies = [("ledger", "0016_swap_freezing")]

    operations = [
        *(migrations.RunSQL(part.format(lookups=LOOKUPS)) for part in (ACCOUNTS, STATES, TRANSFERS, LASTING)),
        migrations.AlterField(
            model_name="account",
            name="active_state",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="ledger.activestate",
            ),
        ),
        migrations.AlterField(model_name="activestate", name="wallet", field=wallet()),
        migrations.AlterField(model_name="transfer", name="wallet", field=wallet(related_name="+")),
        migrations.AlterField(model_name="transfer", name="recipient", field=wallet(related_name="+")),
        migrations.AlterField(model_name="transfer", name="sender_active_state", field=state(null=False)),
        *(
            migrations.AlterField(model_name="transfer", name=f"{name}_active_state", field=state())
            for name in (
                "recipient",
                "recipient_fulfillment",
                "recipient_finalization",
                "sender_cancellation",
                "recipient_cancellation",
            )
        ),
    ]
