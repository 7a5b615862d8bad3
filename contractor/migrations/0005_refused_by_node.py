from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('contractor', '0004_resync'),
    ]

    operations = [
        migrations.AddField(
            model_name='ethereumtransaction',
            name='refused_by_node',
            field=models.BooleanField(db_default=False, default=False, help_text='Whether it was the node that refused last, which says nothing about the contract.'),
        ),
    ]
