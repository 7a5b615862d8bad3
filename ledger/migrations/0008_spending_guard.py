"""Spending is checked when something is spent. Below zero by itself an account gets by what its owner did on chain,
which may also lower the opening of an account that has spent already."""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION ledger_account_guard() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.spent < OLD.spent OR NEW.gained < OLD.gained OR NEW.received < OLD.received
            OR NEW.deposited < OLD.deposited OR NEW.set_size < OLD.set_size) THEN
        RAISE EXCEPTION 'the counters of an account never fall' USING ERRCODE = 'check_violation';
    END IF;
    {spending}
    IF EXISTS (SELECT 1 FROM ledger_rootcommitment WHERE eon_number = NEW.eon_number + 1) THEN
        RAISE EXCEPTION 'the ledger of eon % is closed', NEW.eon_number USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
"""

SPENDING = """
    -- INSERT ... ON CONFLICT UPDATE comes here first as an INSERT of a row that exists
    IF NEW.spent > (CASE TG_OP WHEN 'UPDATE' THEN OLD.spent ELSE 0 END)
            AND NEW.opening + NEW.deposited + NEW.gained + NEW.received - NEW.withdrawn < NEW.spent
            AND (TG_OP = 'UPDATE' OR NOT EXISTS (SELECT 1 FROM ledger_account
                WHERE wallet_id = NEW.wallet_id AND eon_number = NEW.eon_number)) THEN
        RAISE EXCEPTION 'account_never_overspent: wallet % in eon %', NEW.wallet_id, NEW.eon_number
            USING ERRCODE = 'check_violation';
    END IF;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0007_shortfall")]
    operations = [
        migrations.RemoveConstraint(model_name="account", name="account_never_overspent"),
        migrations.RunSQL(FUNCTION.format(spending=SPENDING), FUNCTION.format(spending="")),
    ]
