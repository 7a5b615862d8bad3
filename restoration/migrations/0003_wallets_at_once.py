"""Wallets are held back by a trigger for each statement, as active states are: one for each row cost a registration a
tenth of its time in the database."""

from django.db import migrations

FORWARD = """
DROP TRIGGER restoration_wallets ON ledger_wallet;
CREATE OR REPLACE FUNCTION restoration_wallets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    barred bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM restoration_hold WHERE first_eon IS NULL OR first_eon > 0) THEN
        RETURN NULL;
    END IF;
    SELECT registration_eon_number INTO barred FROM added
        WHERE trail_identifier > 0 AND restoration_bars(registration_eon_number) LIMIT 1;
    IF FOUND THEN
        PERFORM restoration_refuse('a registration', barred);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER restoration_wallets AFTER INSERT ON ledger_wallet
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION restoration_wallets();
"""

BACKWARD = """
DROP TRIGGER restoration_wallets ON ledger_wallet;
CREATE OR REPLACE FUNCTION restoration_wallets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.trail_identifier > 0 AND restoration_bars(NEW.registration_eon_number) THEN
        PERFORM restoration_refuse('a registration', NEW.registration_eon_number);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restoration_wallets BEFORE INSERT ON ledger_wallet
    FOR EACH ROW EXECUTE FUNCTION restoration_wallets();
"""


class Migration(migrations.Migration):
    dependencies = [("restoration", "0002_fence"), ("ledger", "0018_wallet_indexes")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
