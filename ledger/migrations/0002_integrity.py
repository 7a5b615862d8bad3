"""Integrity rules that a CHECK cannot express, as triggers."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION ledger_account_guard() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.spent < OLD.spent OR NEW.gained < OLD.gained OR NEW.received < OLD.received
            OR NEW.deposited < OLD.deposited OR NEW.set_size < OLD.set_size) THEN
        RAISE EXCEPTION 'the counters of an account never fall' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT 1 FROM ledger_rootcommitment WHERE eon_number = NEW.eon_number + 1) THEN
        RAISE EXCEPTION 'the ledger of eon % is closed', NEW.eon_number USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_account_guard BEFORE INSERT OR UPDATE ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION ledger_account_guard();

CREATE FUNCTION ledger_transfer_guard() RETURNS trigger AS $$
BEGIN
    IF NOT NEW.swap AND (SELECT token_id FROM ledger_wallet WHERE id = NEW.wallet_id)
            <> (SELECT token_id FROM ledger_wallet WHERE id = NEW.recipient_id) THEN
        RAISE EXCEPTION 'a transfer stays within its token' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_transfer_guard BEFORE INSERT ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_transfer_guard();

ALTER TABLE ledger_treechunk ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE ledger_account SET (fillfactor = 70);
"""

BACKWARD = """
DROP TRIGGER ledger_transfer_guard ON ledger_transfer;
DROP FUNCTION ledger_transfer_guard();
DROP TRIGGER ledger_account_guard ON ledger_account;
DROP FUNCTION ledger_account_guard();
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
