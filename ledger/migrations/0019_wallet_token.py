"""That a wallet's token is there is seen once for all wallets that are added together, not for each."""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION ledger_wallets_guard() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT token_id FROM added) n
            WHERE NOT EXISTS (SELECT FROM ledger_token t WHERE t.id = n.token_id)) THEN
        RAISE EXCEPTION 'a wallet has no token' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_wallets_added AFTER INSERT ON ledger_wallet
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_wallets_guard();
CREATE TRIGGER ledger_token_stays BEFORE DELETE ON ledger_token
    FOR EACH ROW EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_token_named AFTER UPDATE OF id ON ledger_token
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION ledger_stays();
"""

BACKWARD = """
DROP TRIGGER ledger_token_named ON ledger_token;
DROP TRIGGER ledger_token_stays ON ledger_token;
DROP TRIGGER ledger_wallets_added ON ledger_wallet;
DROP FUNCTION ledger_wallets_guard();
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0018_wallet_indexes")]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AlterField(
            model_name="wallet",
            name="token",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="wallets",
                to="ledger.token",
            ),
        ),
    ]
