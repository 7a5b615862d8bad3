import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """One index for a wallet's address, alone and with its token, in place of three: each costs a registration, and
    those of random addresses the most."""

    dependencies = [("ledger", "0017_guards")]

    operations = [
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.UniqueConstraint(fields=("address", "token"), name="wallet_address_token"),
        ),
        migrations.RemoveConstraint(model_name="wallet", name="wallet_token_address"),
        migrations.RemoveIndex(model_name="wallet", name="wallet_address"),
        migrations.AlterField(
            model_name="wallet",
            name="token",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="wallets",
                to="ledger.token",
            ),
        ),
    ]
