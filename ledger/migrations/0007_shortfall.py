from django.db import migrations

import ledger.fields


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0006_chain_progress"),
    ]

    operations = [
        migrations.AddField(
            model_name="tokencommitment",
            name="shortfall",
            field=ledger.fields.AmountField(
                default=0, help_text="What was written off of wallets that were below zero."
            ),
        ),
    ]
