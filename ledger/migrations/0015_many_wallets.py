"""What a checkpoint of very many wallets needs: no lock of every wallet's row, and sums over the eon alone."""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION ledger_allotments_guard() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM added n WHERE NOT EXISTS (SELECT FROM ledger_wallet w WHERE w.id = n.wallet_id)) THEN
        RAISE EXCEPTION 'an allotment has no wallet' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF EXISTS (SELECT FROM added n WHERE n.active_state_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM ledger_activestate s WHERE s.id = n.active_state_id AND s.wallet_id = n.wallet_id
            AND s.eon_number = n.eon_number - 1)) THEN
        RAISE EXCEPTION 'an allotment names a state that is not of its wallet in the eon before'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off;
-- The plan is kept for the session: one that reads all wallets for a few rows would be read again for each batch.
CREATE TRIGGER ledger_allotments_guard AFTER INSERT ON ledger_exclusivebalanceallotment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_allotments_guard();

CREATE FUNCTION ledger_wallet_guard() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_rootcommitment WHERE eon_number > OLD.registration_eon_number) THEN
        RAISE EXCEPTION 'wallet % has a place in the trees of checkpoints', OLD.id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN OLD;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_wallet_guard BEFORE DELETE ON ledger_wallet
    FOR EACH ROW EXECUTE FUNCTION ledger_wallet_guard();

CREATE FUNCTION ledger_activestate_guard() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_exclusivebalanceallotment WHERE eon_number = OLD.eon_number + 1
            AND wallet_id = OLD.wallet_id AND active_state_id = OLD.id) THEN
        RAISE EXCEPTION 'a checkpoint commits to state %', OLD.id USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN OLD;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_activestate_guard BEFORE DELETE ON ledger_activestate
    FOR EACH ROW EXECUTE FUNCTION ledger_activestate_guard();
"""

BACKWARD = """
DROP TRIGGER ledger_activestate_guard ON ledger_activestate;
DROP FUNCTION ledger_activestate_guard();
DROP TRIGGER ledger_wallet_guard ON ledger_wallet;
DROP FUNCTION ledger_wallet_guard();
DROP TRIGGER ledger_allotments_guard ON ledger_exclusivebalanceallotment;
DROP FUNCTION ledger_allotments_guard();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0014_maintenance"),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AlterField(
            model_name="exclusivebalanceallotment",
            name="active_state",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="ledger.activestate",
            ),
        ),
        migrations.AlterField(
            model_name="exclusivebalanceallotment",
            name="wallet",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                to="ledger.wallet",
            ),
        ),
        migrations.RemoveIndex(
            model_name="withdrawalrequest",
            name="withdrawal_request_standing",
        ),
        migrations.AddIndex(
            model_name="deposit",
            index=models.Index(fields=["eon_number"], name="deposit_eon"),
        ),
        migrations.AddIndex(
            model_name="withdrawalrequest",
            index=models.Index(fields=["eon_number"], name="withdrawal_request_eon"),
        ),
        migrations.AddIndex(
            model_name="withdrawalrequest",
            index=models.Index(
                condition=models.Q(("slashed", True)),
                fields=["slashed_eon_number"],
                name="withdrawal_request_slashed",
            ),
        ),
    ]
