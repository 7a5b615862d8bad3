from django.db import migrations

import ledger.fields


class Migration(migrations.Migration):

    dependencies = [
        ('contractor', '0005_refused_by_node'),
    ]

    operations = [
        migrations.AlterField(
            model_name='contractparameters',
            name='genesis_hash',
            field=ledger.fields.HashField(help_text='Hash of the genesis block: tells chains with equal numbers apart. Null until it is deep enough.', null=True),
        ),
    ]
