#requires -Version 5.1
#requires -Modules @{ ModuleName = 'Pester'; ModuleVersion = '5.0.0' }
<#
    Calling conventions over a mocked CIM layer. Instances are client-only ones of classes made here, so the tests run on
    any Windows, with or without the Hyper-V role.
#>
BeforeAll {
    $script:Modules = [System.IO.Path]::Combine($PSScriptRoot, '..', '..', 'lib', 'agent', 'powershell', 'scripts', 'modules')
    foreach ($name in @('Protocol', 'State', 'Wmi', 'HyperV')) {
        Import-Module -Name ([System.IO.Path]::Combine($script:Modules, "Gcb.$name.psm1")) -Force
    }

    function New-Fake {
        param([string] $ClassName, [hashtable] $Property, [string[]] $Key = @())
        $arguments = @{ ClassName = $ClassName; Property = $Property; ClientOnly = $true; Namespace = 'root/virtualization/v2' }
        if ($Key.Count -gt 0) { $arguments['Key'] = $Key }
        New-CimInstance @arguments
    }
}

Describe 'WQL' {
    It 'escapes backslashes and quotes' {
        Format-GcbFilter -Property 'InstanceID' -Value "Microsoft:A\B'C" | Should -BeExactly "InstanceID = 'Microsoft:A\\B\'C'"
    }
    It 'refuses a property that is no name' {
        { Format-GcbFilter -Property "A' OR '1" -Value 'x' } | Should -Throw
    }
}

Describe 'embedded instances' {
    It 'come back as they went in' {
        $text = ConvertTo-GcbEmbedded -Instance (New-Fake -ClassName 'Msvm_VHDSnapshotInformation' -Property @{ SnapshotId = 'a'; ParentPathsList = [string[]]@('x', 'y') })
        $values = ConvertFrom-GcbEmbedded -Text $text
        $values['SnapshotId'] | Should -BeExactly 'a'
        $values['ParentPathsList'] | Should -Be @('x', 'y')
    }
}

Describe 'object paths' {
    It 'have every key, with backslashes and quotes escaped' {
        $instance = New-Fake -ClassName 'Msvm_VirtualSystemReferencePoint' -Property @{ InstanceID = 'Microsoft:A\"B'; Other = 1 } -Key 'InstanceID'
        Get-GcbObjectPath -Instance $instance | Should -BeLike '\\*\root\virtualization\v2:Msvm_VirtualSystemReferencePoint.InstanceID="Microsoft:A\\\"B"'
    }
}

Describe 'Wait-GcbJob' {
    It 'reads the job again until it ends: state <State>' -ForEach @(@{ State = 7 }, @{ State = 32768 }) {
        $script:Polls = 0
        $script:EndState = $State
        Mock -ModuleName Gcb.Wmi -CommandName Start-Sleep -MockWith { $null }
        Mock -ModuleName Gcb.Wmi -CommandName Get-CimInstance -MockWith {
            $script:Polls++
            $state = if ($script:Polls -lt 4) { 4 } else { $script:EndState }
            New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j'; JobState = [uint16]$state }
        }
        $job = Wait-GcbJob -Job (New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j' }) -TimeoutMs 60000 -Subject 'vm'
        $job.JobState | Should -Be $State
        $script:Polls | Should -Be 4
    }

    It 'fails with the job texts in state <State>' -ForEach @(@{ State = 8 }, @{ State = 9 }, @{ State = 10 }) {
        $script:EndState = $State
        Mock -ModuleName Gcb.Wmi -CommandName Get-CimInstance -MockWith {
            New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j'; JobState = [uint16]$script:EndState; ErrorCode = [uint16]32775; ErrorDescription = 'no owner' }
        }
        Mock -ModuleName Gcb.Wmi -CommandName Invoke-CimMethod -MockWith { [pscustomobject]@{ ReturnValue = 0; Errors = @('<ERR/>') } }
        $failure = $null
        try { Wait-GcbJob -Job (New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j' }) -TimeoutMs 60000 -Subject 'vm' }
        catch { $failure = $_ }
        $document = ConvertTo-GcbErrorDocument -ErrorRecord $failure
        $document['code'] | Should -BeExactly 'HV_JOB_FAILED'
        $document['jobErrorCode'] | Should -Be 32775
        $document['jobErrorText'] | Should -BeLike '*no owner*<ERR/>*'
    }

    It 'gives nothing when the time is over' {
        Mock -ModuleName Gcb.Wmi -CommandName Get-CimInstance -MockWith {
            New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j'; JobState = [uint16]4 }
        }
        Wait-GcbJob -Job (New-Fake -ClassName 'Msvm_ConcreteJob' -Property @{ InstanceID = 'j' }) -TimeoutMs 0 -Subject 'vm' | Should -BeNullOrEmpty
    }
}

Describe 'Invoke-GcbMethod' {
    It 'fails with the return value, access denied told apart' {
        $target = New-Fake -ClassName 'Msvm_ImageManagementService' -Property @{ Name = 's' }
        foreach ($case in @(@(32769, 'HV_ACCESS_DENIED'), @(32773, 'HV_CALL_FAILED'))) {
            $script:Answer = $case[0]
            Mock -ModuleName Gcb.Wmi -CommandName Invoke-CimMethod -MockWith { [pscustomobject]@{ ReturnValue = [uint32]$script:Answer } }
            $failure = $null
            try { Invoke-GcbMethod -Target $target -MethodName GetVirtualHardDiskSettingData -Arguments @{ Path = 'x' } -Subject 'x' }
            catch { $failure = $_ }
            (ConvertTo-GcbErrorDocument -ErrorRecord $failure)['code'] | Should -BeExactly $case[1]
            (ConvertTo-GcbErrorDocument -ErrorRecord $failure)['wmiReturnValue'] | Should -Be $case[0]
        }
    }
}

Describe 'tracking ids' {
    It 'pair in order' {
        $point = New-Fake -ClassName 'Msvm_VirtualSystemReferencePoint' -Property @{ InstanceID = 'r'; VirtualDiskIdentifiers = [string[]]@('a', 'b'); ResilientChangeTrackingIdentifiers = [string[]]@('1', '2') }
        $ids = Get-GcbTrackingId -ReferencePoint $point
        $ids['a'] | Should -BeExactly '1'
        $ids['b'] | Should -BeExactly '2'
    }
    It 'of different number are refused' {
        $point = New-Fake -ClassName 'Msvm_VirtualSystemReferencePoint' -Property @{ InstanceID = 'r'; VirtualDiskIdentifiers = [string[]]@('a', 'b'); ResilientChangeTrackingIdentifiers = [string[]]@('1') }
        { Get-GcbTrackingId -ReferencePoint $point } | Should -Throw
    }
}

Describe 'the volume of a path' {
    It 'is the one with the longest mount point' {
        $volumes = @(
            [pscustomobject]@{ Name = 'C:\' }
            [pscustomobject]@{ Name = 'C:\ClusterStorage\Volume1\' }
            [pscustomobject]@{ Name = 'C:\ClusterStorage\Volume10\' }
        )
        (Get-GcbVolume -Volumes $volumes -Path 'c:\clusterstorage\volume1\a.vhds').Name | Should -BeExactly 'C:\ClusterStorage\Volume1\'
        (Get-GcbVolume -Volumes $volumes -Path 'C:\ClusterStorage\Volume10\a.vhds').Name | Should -BeExactly 'C:\ClusterStorage\Volume10\'
        (Get-GcbVolume -Volumes $volumes -Path 'D:\a.vhds') | Should -BeNullOrEmpty
    }
}

Describe 'which record speaks of a checkpoint' {
    BeforeAll {
        $script:Intent = [pscustomobject]@{ tag = 't'; collectionId = 'c'; snapshotCollectionId = ''; before = @('old'); startedAtMs = 1700000000000 }
        $script:Checkpoint = @([pscustomobject]@{ CreationTime = [datetime]::new(2023, 11, 14, 22, 13, 25, [System.DateTimeKind]::Utc) })
    }
    It 'is the open intent for what appeared after it' {
        (Find-GcbCheckpointRecord -Records @($script:Intent) -SnapshotCollectionId 'new' -CollectionId 'c' -Checkpoints $script:Checkpoint).tag | Should -BeExactly 't'
    }
    It 'is none for what was there before, for another collection, or long after' {
        Find-GcbCheckpointRecord -Records @($script:Intent) -SnapshotCollectionId 'old' -CollectionId 'c' -Checkpoints $script:Checkpoint | Should -BeNullOrEmpty
        Find-GcbCheckpointRecord -Records @($script:Intent) -SnapshotCollectionId 'new' -CollectionId 'd' -Checkpoints $script:Checkpoint | Should -BeNullOrEmpty
        $late = @([pscustomobject]@{ CreationTime = [datetime]::new(2023, 11, 15, 22, 13, 25, [System.DateTimeKind]::Utc) })
        Find-GcbCheckpointRecord -Records @($script:Intent) -SnapshotCollectionId 'new' -CollectionId 'c' -Checkpoints $late | Should -BeNullOrEmpty
    }
}

Describe 'which record speaks of a reference point' {
    BeforeAll {
        $script:Disk = [pscustomobject]@{ vmId = 'a' }
        $script:Cut = [pscustomobject]@{ tag = 'cut'; referencePointCollectionId = ''; before = @('old'); checkpointDisks = @($script:Disk) }
        $script:Known = [pscustomobject]@{ tag = 'known'; referencePointCollectionId = 'g'; before = @(); checkpointDisks = @($script:Disk) }
    }
    It 'is the one with its id' {
        (Find-GcbReferenceRecord -Records @($script:Cut, $script:Known) -GroupId 'g' -VmId 'a').tag | Should -BeExactly 'known'
    }
    It 'is the intent of a conversion that was cut off, for what it made and nothing else' {
        (Find-GcbReferenceRecord -Records @($script:Cut) -GroupId 'new' -VmId 'a').tag | Should -BeExactly 'cut'
        Find-GcbReferenceRecord -Records @($script:Cut) -GroupId 'old' -VmId 'a' | Should -BeNullOrEmpty
        Find-GcbReferenceRecord -Records @($script:Cut) -GroupId 'new' -VmId 'b' | Should -BeNullOrEmpty
    }
}

Describe 'the tracking id of a disk' {
    It 'is found by its own id, else by controller and place' {
        $ids = @{ 'Microsoft:VM\C\0\0\L' = '1'; 'Microsoft:VM\C\0\1\L' = '2' }
        Find-GcbTrackingId -TrackingIds $ids -DiskInstanceId 'Microsoft:VM\C\0\1\L' | Should -BeExactly '2'
        Find-GcbTrackingId -TrackingIds $ids -DiskInstanceId 'Microsoft:CHECKPOINT\C\0\0\L' | Should -BeExactly '1'
        Find-GcbTrackingId -TrackingIds $ids -DiskInstanceId 'Microsoft:CHECKPOINT\C\0\7\L' | Should -BeExactly ''
    }
}

Describe 'a VHD Set' {
    BeforeAll {
        $script:Images = New-Fake -ClassName 'Msvm_ImageManagementService' -Property @{ Name = 's' }
        function Get-SetText {
            param([string[]] $AllPaths)
            ConvertTo-GcbEmbedded -Instance (New-Fake -ClassName 'Msvm_VHDSetInformation' -Property @{ Path = 'a.vhds'; AllPaths = $AllPaths })
        }
    }
    It 'has its data files as chain, without itself, in the order of the setting' {
        $script:Text = Get-SetText -AllPaths @('C:\v\a.vhds', 'C:\v\a_2.avhdx', 'C:\v\a_1.avhdx')
        Mock -ModuleName Gcb.Wmi -CommandName Invoke-CimMethod -MockWith { [pscustomobject]@{ ReturnValue = [uint32]0; Information = $script:Text } }
        @(Get-GcbVhdSetChain -ImageService $script:Images -Path 'C:\v\a.vhds' -Order 'leaf-first') | Should -Be @('C:\v\a_2.avhdx', 'C:\v\a_1.avhdx')
        @(Get-GcbVhdSetChain -ImageService $script:Images -Path 'C:\v\a.vhds' -Order 'root-first') | Should -Be @('C:\v\a_1.avhdx', 'C:\v\a_2.avhdx')
    }
}

Describe 'a checkpoint that cannot be described' {
    It 'is found with its members and no disk at all' {
        Mock -ModuleName Gcb.HyperV -CommandName Get-GcbDiskAllocation -MockWith { throw 'the storage is away' }
        $checkpoint = New-Fake -ClassName 'Msvm_VirtualSystemSettingData' -Property @{
            InstanceID              = 'Microsoft:C'
            VirtualSystemIdentifier = '11111111-1111-4111-8111-111111111111'
            CreationTime            = [datetime]::new(2023, 11, 14, 22, 13, 20, [System.DateTimeKind]::Utc)
        }
        $service = New-Fake -ClassName 'Msvm_ImageManagementService' -Property @{ Name = 's' }
        $found = Get-GcbFoundCheckpoint -ImageService $service -SnapshotCollectionId 'c' -Checkpoints @($checkpoint) -Record $null
        @($found['members']).Count | Should -Be 1
        @($found['disks']).Count | Should -Be 0
    }
}
