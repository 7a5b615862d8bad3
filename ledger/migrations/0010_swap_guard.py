"""Funds that an order moves count like all others: neither spending nor matching takes an account below zero."""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION ledger_account_guard() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.spent < OLD.spent OR NEW.gained < OLD.gained OR NEW.received < OLD.received
            OR NEW.deposited < OLD.deposited OR NEW.set_size < OLD.set_size) THEN
        RAISE EXCEPTION 'the counters of an account never fall' USING ERRCODE = 'check_violation';
    END IF;
    -- INSERT ... ON CONFLICT UPDATE comes here first as an INSERT of a row that exists
    IF NEW.spent - NEW.gained - NEW.swapped
            > (CASE TG_OP WHEN 'UPDATE' THEN OLD.spent - OLD.gained - OLD.swapped ELSE 0 END)
            AND NEW.opening + NEW.deposited + NEW.gained + NEW.received + NEW.swapped - NEW.withdrawn < NEW.spent
            AND (TG_OP = 'UPDATE' OR NOT EXISTS (SELECT 1 FROM ledger_account
                WHERE wallet_id = NEW.wallet_id AND eon_number = NEW.eon_number)) THEN
        RAISE EXCEPTION 'account_never_overspent: wallet % in eon %', NEW.wallet_id, NEW.eon_number
            USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT 1 FROM ledger_rootcommitment WHERE eon_number = NEW.eon_number + 1) THEN
        RAISE EXCEPTION 'the ledger of eon % is closed', NEW.eon_number USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0009_swaps")]
    operations = [migrations.RunSQL(FUNCTION, migrations.RunSQL.noop)]
