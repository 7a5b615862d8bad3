"""What a held hub may not write, as triggers: nothing that the operator has signed leaves the hub before the
transaction that writes it has committed, so what can't be written can't be said.

Held are, while there is a hold that nobody decided on, all eons, and afterwards those before the hold's `first_eon`:

* active states with the operator's signature, wallets (but for the operator's own, which have trail 0), and delegated
  withdrawals, which have no eon of their own and count for the latest one;
* while nothing is decided, checkpoints, unless the contract holds the very same root: that proves that the ledger of
  the eon before is whole. The states of orders that such a checkpoint carries over are the ones that were signed
  before, so they may be signed again, in its transaction.

A checkpoint that differs from the one that the contract holds is never written.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION restoration_bars(eon bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM restoration_hold WHERE first_eon IS NULL OR first_eon > eon)
$$;

CREATE FUNCTION restoration_refuse(what text, eon bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'restoration: % of eon % is not signed: this database was restored, see after_restore', what, eon
        USING ERRCODE = 'check_violation';
END $$;

CREATE FUNCTION restoration_states() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    barred bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM restoration_hold WHERE first_eon IS NULL OR first_eon > 0)
            OR current_setting('restoration.repeated', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    SELECT eon_number INTO barred FROM added
        WHERE operator_signature IS NOT NULL AND restoration_bars(eon_number) LIMIT 1;
    IF FOUND THEN
        PERFORM restoration_refuse('a state', barred);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER restoration_states_inserted AFTER INSERT ON ledger_activestate
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION restoration_states();
CREATE TRIGGER restoration_states_updated AFTER UPDATE ON ledger_activestate
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION restoration_states();

CREATE FUNCTION restoration_wallets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.trail_identifier > 0 AND restoration_bars(NEW.registration_eon_number) THEN
        PERFORM restoration_refuse('a registration', NEW.registration_eon_number);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restoration_wallets BEFORE INSERT ON ledger_wallet
    FOR EACH ROW EXECUTE FUNCTION restoration_wallets();

CREATE FUNCTION restoration_withdrawals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    eon bigint;
BEGIN
    SELECT (head_block - genesis_block) / blocks_per_eon + 1 INTO eon FROM ledger_chainstatus;
    IF restoration_bars(COALESCE(eon, 0)) THEN
        PERFORM restoration_refuse('a withdrawal', eon);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restoration_withdrawals BEFORE INSERT ON ledger_delegatedwithdrawal
    FOR EACH ROW EXECUTE FUNCTION restoration_withdrawals();

CREATE FUNCTION restoration_checkpoints() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    submitted bytea;
BEGIN
    SELECT merkle_root INTO submitted FROM restoration_submittedroot WHERE eon_number = NEW.eon_number;
    IF submitted <> NEW.merkle_root THEN
        RAISE EXCEPTION 'restoration: the checkpoint of eon % would be %, but the contract holds %: what was signed'
            ' in the eon before was lost', NEW.eon_number, encode(NEW.merkle_root, 'hex'), encode(submitted, 'hex')
            USING ERRCODE = 'check_violation';
    END IF;
    IF submitted IS NOT NULL THEN
        PERFORM set_config('restoration.repeated', 'yes', true);
    ELSIF EXISTS (SELECT 1 FROM restoration_hold WHERE first_eon IS NULL) THEN
        PERFORM restoration_refuse('the checkpoint', NEW.eon_number);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restoration_checkpoints BEFORE INSERT ON ledger_rootcommitment
    FOR EACH ROW EXECUTE FUNCTION restoration_checkpoints();
"""

BACKWARD = """
DROP TRIGGER restoration_checkpoints ON ledger_rootcommitment;
DROP FUNCTION restoration_checkpoints();
DROP TRIGGER restoration_withdrawals ON ledger_delegatedwithdrawal;
DROP FUNCTION restoration_withdrawals();
DROP TRIGGER restoration_wallets ON ledger_wallet;
DROP FUNCTION restoration_wallets();
DROP TRIGGER restoration_states_updated ON ledger_activestate;
DROP TRIGGER restoration_states_inserted ON ledger_activestate;
DROP FUNCTION restoration_states();
DROP FUNCTION restoration_refuse(text, bigint);
DROP FUNCTION restoration_bars(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("restoration", "0001_initial"), ("ledger", "0009_swaps")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
